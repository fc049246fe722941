"""What to see in each figure; data alone, which the Snakefile reads, too."""

# Figure name (its module's) -> title, caption. The order is that of the page.
CAPTIONS = {
    "transfer_by_generator": (
        "Trained on generated images, tested on real ones",
        "Each point is a classifier that saw only images of one generator, tested on real images. "
        "Look at the slope of each line, and at the distance to the dashed line, which real "
        "training images reach.",
    ),
    "transfer_asymmetry": (
        "Easy to recognise, hard to learn from?",
        "Across: how well a classifier trained on real images recognises the generated ones. Up: "
        "how well one trained on the generated images recognises real ones. Points under the "
        "diagonal are easier to recognise than to learn from. A thin line joins one generator's "
        "kinds of prompt; the label stands at the first kind.",
    ),
    "density_coverage": (
        "What the generators cover of the real distribution",
        "To the right, generated images crowd where real ones are dense; further up, more of the "
        "real images have a generated neighbour. High density with low coverage is a collapsed "
        "distribution; both low, a shifted one. The star is the real test split: what perfect "
        "images would reach.",
    ),
    "text_to_image": (
        "What captions and augmentation make of models",
        "Each line is a model with its prompts, each panel a metric. Dots are means, bars their "
        "intervals, small marks single trainings. The band is the interval of the baseline: what "
        "lies within it is not shown to be better or worse. The dashed line is what other real "
        "images come to.",
    ),
    "text_to_image_by_step": (
        "How models do as they learn",
        "The same metrics of models before their end. A model that learns its training images by "
        "heart would have a curve that turns for the worse. Intervals are of the images of one "
        "training. The dashed line is what other real images come to.",
    ),
    "distinguish": (
        "Can a classifier tell them apart?",
        "Accuracy of classifiers trained to tell which source an image is of. At a row's dashed "
        "mark they guess. Controls, a source against itself, must lie there but for one in twenty; "
        "otherwise the test itself leaks. So must what headers of files tell. Their lengths need "
        "not: smoother pictures take fewer bytes.",
    ),
    "distinguish_by_view": (
        "Where do they differ?",
        "The same question of parts of the images and of bands of their frequencies, by one of "
        "the classifiers. Dashed lines are whole images, dotted ones chance. Where a line comes "
        "down to chance, it finds nothing in that part that tells the sources apart.",
    ),
    "distinguish_by_samples": (
        "How many images does it take?",
        "Accuracy by the number of training images of each source. A classifier that needs few has "
        "found a difference in almost every image.",
    ),
    "transfer_by_architecture": (
        "Do other architectures agree?",
        "Classifiers of several architectures, all trained on whole images. The generators stand "
        "in the order of the first figure's axis, the lowest at the top; the hollow marks are "
        "classifiers that learnt from real images. Where the lines run alike, the order of the "
        "generators does not depend on the architecture.",
    ),
    "transfer_by_alignment": (
        "Prompts followed, and what can be learnt",
        "Across, how well generators follow their prompts, by each score that was measured; up, "
        "how well a classifier trained on their images recognises real ones. A slope downwards "
        "says that a better score goes with worse training data. Which images a score is of stands "
        "under its axis. A thin line joins one generator's kinds of prompt; the label stands at "
        "the first kind.",
    ),
    "transfer_by_probe": (
        "Which part of the image is off?",
        "Each classifier sees only one part of the image, in training and in testing. Its accuracy "
        "on real images, when it learnt from generated ones, is shown as a share of what it "
        "reaches when it learns from real ones: 100 % is as good as real data. Across, the same "
        "for whole images. Above the diagonal, that part of the image carries over better than the "
        "whole; the further below, the more is wrong with it.",
    ),
    "transfer_by_size": (
        "How much more images help",
        "Accuracy on real images by the number of training images; the dashed line is real images. "
        "What matters is whether a line still rises at its right end, and whether more generated "
        "images reach what fewer real ones do. The darker, the higher on the first figure's axis.",
    ),
    "mixing": (
        "Real and generated images together",
        "Real training images that are replaced by generated ones, and generated ones that are "
        "added to all real ones, so many for each real image that there is; from 1 on, nothing "
        "real is left where they replace. At the left of each panel there are real images alone; "
        "the dashed line, with its interval, carries on what they reach. The darker, the newer the "
        "generator, or where dates are missing the higher its guidance scale.",
    ),
    "semi_supervised": (
        "The same with few labels",
        "Here classifiers are told the labels of a few images of each class, and learn from the "
        "others without theirs. Generated images that are added keep the label that they were made "
        "from; those that replace real ones do not.",
    ),
    "casd_by_size": (
        "What synthetic images do to a diffusion model",
        "Fréchet distance of generated to real images, by how many images the model learnt from. "
        "Grey: real images alone. A line below it is a model that synthetic images made better, "
        "one above it a model that they made worse. Where lines differ in how many synthetic "
        "images there were, the more the darker. Bars are 95 % intervals over samples.",
    ),
    "casd_classes": (
        "Of which classes generated images are",
        "As a classifier sees them that was trained on all real classes. On grey ground no real "
        "image is of that class: what stands there beyond the grey points came with the synthetic "
        "images. The dotted line is an even share of the real classes.",
    ),
    "power_spectrum": (
        "How much contrast at each frequency",
        "Left, the mean power over images at each frequency, from whole shapes to single pixels: "
        "of brightness, under a Hann window, averaged over directions; the grey band is one "
        "standard deviation over real images. Right, how far each source is from real images: "
        "below zero it is too smooth there, above too rough. The bands are 95 % intervals of that "
        "difference. Where lines have shades, the darker, the higher on the first figure's axis. "
        "Rounding to 8 bits has a power of −59 dB; nothing can be told below.",
    ),
}

# So wide that a column of the page makes their labels too small.
WIDE = {
    *("transfer_by_alignment", "transfer_by_architecture", "transfer_by_probe"),
    *("transfer_by_size", "mixing", "semi_supervised", "power_spectrum"),
    *("distinguish", "distinguish_by_view", "text_to_image", "text_to_image_by_step"),
    *("casd_by_size", "casd_classes"),
}
