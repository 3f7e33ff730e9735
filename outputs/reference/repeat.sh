#!/usr/bin/env bash
# Train all settings of the study and write its tables to outputs/study/.
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

# Photographs and more dimensions
train_five() {  # folder, data set, folder of the judge, and the flags of all runs
    dataset=$2
    for seed in 0 1 2; do
        train eager $1/sum_ ${@:4}
        train eager $1/beta1_ ${@:4} --beta 1
        train eager $1/kl_mmd_ ${@:4} --alpha 0 --lambda 1000 --kernel imq
        train mmd $1/weighted_ ${@:4} --lambda 10 --kernel imq
        train mmd $1/mmd_ ${@:4}
    done
    cp outputs/reference/$3/$2/judge.keras outputs/study/$1/sum_seed0/$2
    python -m common.compare --iw-images 100 \
        outputs/study/$1/{sum,beta1,kl_mmd}_seed{0,1,2}/$2/cvae \
        outputs/study/$1/{weighted,mmd}_seed{0,1,2}/$2/mmd --output outputs/study/$1/comparison
}
photographs="--learning-rate 1e-3 --filters 32 64 128 --latent-dim 64"
train_five cifar10_64 cifar10 cifar10_64/sum_seed0 --epochs 8 $photographs
train_five fashion_mnist_16 fashion_mnist seed0 --epochs 4 --learning-rate 1e-3 --latent-dim 16
train_five fashion_mnist_2 fashion_mnist seed0 --epochs 4 --learning-rate 1e-3
dataset=cifar10 seed=0
for weight in 0.01 0.1 1 10 100 1000; do  # Why `weighted` has the weight 10
    train mmd cifar10_64/weight${weight}_ --epochs 3 $photographs --lambda $weight --kernel imq
done
cp outputs/reference/cifar10_64/sum_seed0/cifar10/judge.keras outputs/study/cifar10_64/weight0.01_seed0/cifar10
python -m common.compare --iw-images 100 outputs/study/cifar10_64/weight{0.01,0.1,1,10,100,1000}_seed0/cifar10/mmd \
    --output outputs/study/cifar10_weights/comparison
