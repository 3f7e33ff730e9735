#!/usr/bin/env bash
# Train all settings of the study and write its tables to outputs/study/. CIFAR-10 is not included.
set -eo pipefail
cd "$(dirname "$0")/../.."

train() { python $1_cvae.py --dataset $dataset --seed $seed ${@:3} --output-dir outputs/study/$2seed$seed; }
for seed in 0 1 2; do
    for dataset in fashion_mnist mnist; do
        train eager ""
        train eager beta1_ --beta 1
        train eager alpha1_lambda784_ --alpha 1 --lambda 784
        train mmd crossentropy_ --cross-entropy
        train mmd lambda_ --lambda $([ $dataset = mnist ] && echo 0.232 || echo 0.092)
        train mmd ""
    done
    dataset=fashion_mnist
    train eager lambda1000_ --alpha 0 --lambda 1000
    train eager vamp500_ --beta 1 --vamp-prior 500
done
for dataset in fashion_mnist mnist; do
    cp outputs/reference/seed0/$dataset/judge.keras outputs/study/seed0/$dataset
    python -m common.compare --iw-images 1000 \
        outputs/study/{,beta1_,alpha1_lambda784_}seed{0,1,2}/$dataset/cvae \
        outputs/study/{crossentropy_,lambda_,}seed{0,1,2}/$dataset/mmd \
        --output outputs/study/$dataset/comparison
done
cp outputs/reference/seed0/fashion_mnist/judge.keras outputs/study/beta1_seed0/fashion_mnist
python -m common.compare --iw-images 1000 \
    outputs/study/{beta1,lambda1000,vamp500}_seed*/fashion_mnist/cvae --output outputs/study/family/comparison
